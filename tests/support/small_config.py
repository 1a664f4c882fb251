"""The smallest config of which a plan can be made, for tests of what surrounds a run: dates, schedules, history."""


def small_config(more: str = "", name: str = "shop", table: str = "t", root: str = "root") -> str:
    """hivemill.yaml with one bigint column `id` and the label `click`; `more` is further sections in YAML."""
    return f"""
name: {name}
root: {root}
source: {{table: {table}, columns: {{id: bigint, click: int}}}}
window: {{train_days: 1, validation_days: 0}}
label: {{column: click}}
features: {{id: {{type: categorical}}}}
training: {{plateau: null}}
{more.lstrip()}"""
