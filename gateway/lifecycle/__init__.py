"""The life of one image request: plan it, reserve, send, settle.

`plan` decides on paper, `serve` acts, `settlement` makes sure that what happened is posted.
"""
