"""The tests mirror the package: `gateway/x/y.py` is tested in `tests/x/test_y.py` or `test_y_<topic>.py`.

Where it is not, the tables say which tests would fail. A module without a function has no logic to test.
"""

from __future__ import annotations

import ast
from pathlib import Path

THROUGH = {
    # What a request goes through is tested at the two ends of its life, against real services and stores.
    "lifecycle/test_serve": "story failures dry_run account attempts delivery",
    "cli/test_usage": "asking",
    "lifecycle/test_streams": "annotation relay",
    "lifecycle/test_slot": "ask seen",
    "lifecycle/test_ladder": "admission alternatives",
    "api/test_openapi": "estimate schemas responses system",
    "api/test_images": "bodies errors models parts serving",
    "api/test_eco": "answers budgets sheets",
    # Amounts and holds only mean something to the scripts that count them.
    "budgets/test_ledger_settle": "amounts closing holds lifetimes",
    "budgets/test_ledger_lua": "scripts",
    "budgets/test_ledger_expiry": "expiry",
    "budgets/test_policy": "action_section alert_section window_section",
    "budgets/test_policy_file": "limits_section",
    "budgets/test_ledger_model": "counter",
    "alerts/test_delivery": "message",
    # One estimate uses every method, coefficient and bound.
    "footprint/test_estimate": "chain diffusion explain known method_energy methods quantities question",
    "footprint/test_factors": "entries factor_files",
    "upstreams/test_client": "answers bodies deployments refusals",
    "upstreams/test_deployment_file": "routing_section rules",
    "upstreams/dialects/test_dialect": ("azure localai openai registry sdcpp together vllm_omni xinference"),
    # Questions about usage are asked of real databases.
    "usage/test_queries": "filters pages totals visibility",
    "usage/test_journal": "record",
    "images/test_skeleton": "pixels",
    # A whole simulation is the test of its parts.
    "simulation/test_simulate": "choice options plot replay slots traces",
    # A ranking is judged with its counterfactuals.
    "routing/test_rank": "counterfactual",
    "routing/test_ladder": "readings tables",
    # Every provider is asked over a real socket.
    "routing/test_providers": (
        "providers/carbon_aware_sdk providers/eia providers/electricity_maps providers/energinet "
        "providers/energy_charts providers/entsoe providers/fuels providers/neso providers/rte "
        "providers/watttime"
    ),
    "images/test_edits": "form values",
    "conversations/test_responses": "any_body asking",
    "conversations/test_responses_answer": "scans",
    "conversations/test_chat_answer": "seeing",
    "demo/test_standin": "forms streaming",
}
WHOLE = {
    "test_app": "running settings",
    "contract/test_framing": "cli/connection",
    "contract/test_rate_limits": "api/rate_limits",
    "simulation/test_simulate": "routing/signal_file",
    "routing/test_feed": "lifecycle/watching",
    "budgets/test_audit": "usage/archive",
    "faults/test_loss": "budgets/losses budgets/recovery budgets/presence",
    "faults/test_moves": "budgets/moves store/cluster",
    "lifecycle/test_streams": "api/options",
    "lifecycle/test_ladder": "images/lighter",
    "api/test_raises": "budgets/raises",
    "lifecycle/test_life_modes": "budgets/notices",
    "api/test_images": "errors",
    "api/test_conversations": "demo/conversations",
    "lifecycle/test_serve": "telemetry/metrics telemetry/tracing",
}
OF_THE_WHOLE = {"browser", "contract", "e2e", "faults"}
OF_NO_MODULE = {
    "api/test_schema_fuzz": "every route at once",
    "cli/test_verbs": "the verbs of cli/__init__.py",
    "footprint/test_accuracy": "estimates against published measurements",
    "footprint/test_ecologits": "our grid against another library's",
    "footprint/test_methodology": "docs/methodology.md",
    "lifecycle/test_streams": "lives whose answer is a stream",
    "routing/test_providers": "routing/providers",
    "images/test_fuzz": "every reader of bodies",
    "test_docs": "docs/reference.md",
    "test_mirror": "this",
    "test_readme": "README.md",
}


def modules() -> set[str]:
    paths = (path for path in Path("gateway").rglob("*.py") if "migrations" not in path.parts)
    return {str(path.relative_to("gateway").with_suffix("")) for path in paths if path.stem != "__init__"}


def has_logic(module: str) -> bool:
    tree = ast.parse(Path("gateway", f"{module}.py").read_text())
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


def modules_of_tests() -> set[str]:
    return {str(path.relative_to("tests").with_suffix("")) for path in Path("tests").rglob("test_*.py")}


def subject(test: str) -> str:
    folder, _, name = test.rpartition("test_")
    return folder + name


def elsewhere() -> dict[str, str]:
    here = {f"{Path(test).parent}/{name}": test for test, names in THROUGH.items() for name in names.split()}
    return here | {name: test for test, names in WHOLE.items() for name in names.split()}


def mirrors(test: str, module: str) -> bool:
    return subject(test) == module or subject(test).startswith(f"{module}_")


def test_every_module_with_logic_is_tested() -> None:
    untested = {
        module
        for module in modules()
        if has_logic(module) and not any(mirrors(t, module) for t in modules_of_tests())
    }

    assert untested <= set(elsewhere())
    assert set(elsewhere()) <= modules()


def test_every_test_module_has_its_module() -> None:
    orphans = {
        test
        for test in modules_of_tests()
        if test.partition("/")[0] not in OF_THE_WHOLE
        and not any(mirrors(test, module) for module in modules())
    }

    assert orphans == set(OF_NO_MODULE)
    assert set(elsewhere().values()) <= modules_of_tests()
