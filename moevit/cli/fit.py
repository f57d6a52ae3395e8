# SPDX-License-Identifier: Apache-2.0
"""``moevit fit``: the named networks on the named configurations."""

from rich.table import Table

from moevit.compiler.plan import reasons_against
from moevit.spec.arrays import CONFIGS
from moevit.spec.networks import NETWORKS

from .screen import console, say


def fit() -> None:
    """Print which network fits which configuration, and the reasons against."""
    table = Table("network", box=None)
    for config in CONFIGS:
        table.add_column(config, no_wrap=True)
    against = {(network, config): reasons_against(NETWORKS[network], CONFIGS[config])
               for network in NETWORKS for config in CONFIGS}
    for network in NETWORKS:
        table.add_row(network, *("no" if against[network, config] else "[green]fits[/green]" for config in CONFIGS))
    console.print(table)
    for (network, config), reasons in against.items():
        if reasons:
            say(f"{network} on {config}: {'; '.join(reasons)}")
