"""iptables-restore --noflush and iptables-save over a variable: as much of them as fairlead uses."""

import re

_BASE = {"nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"), "filter": ("INPUT", "FORWARD", "OUTPUT")}


class Tables:
    def __init__(self) -> None:
        self._tables: dict[str, dict[str, list[str]]] = {
            table: {chain: [] for chain in chains} for table, chains in _BASE.items()
        }

    @staticmethod
    def transactions(text: str) -> list[str]:
        return re.findall(r"\*.*?COMMIT\n", text, re.DOTALL)

    def run(self, text: str) -> None:
        for part in self.transactions(text):
            first, *commands, _ = part.splitlines()
            for command in commands:
                self._command(self._tables[first[1:]], command)

    def saved(self) -> str:
        lines = []
        for table, chains in self._tables.items():
            lines.append(f"*{table}")
            lines += [f":{name} {'ACCEPT' if name in _BASE[table] else '-'} [0:0]" for name in chains]
            lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
            lines.append("COMMIT")
        return "\n".join(lines) + "\n"

    def refusing(self) -> str:
        """As saved, where it is filter alone that says what is refused: nat's twins are made to agree."""
        pretended = Tables()
        pretended._tables = {table: dict(chains) for table, chains in self._tables.items()}
        nat, filtering = pretended._tables["nat"], self._tables["filter"]
        for name in nat.keys() & filtering.keys() - {"INPUT", "OUTPUT"}:
            held = "DNAT --to-destination :1-65535"
            nat[name] = [rule.replace("REJECT --reject-with tcp-reset", held) for rule in filtering[name]]
        return pretended.saved()

    @staticmethod
    def _command(chains: dict[str, list[str]], command: str) -> None:
        verb, name, *rest = command.split(maxsplit=2)
        rule = rest[0] if rest else ""
        if verb.startswith(":"):
            chains[verb[1:]] = []
            return
        match verb:
            case "-A":
                chains[name].append(rule)
            case "-I":
                chains[name].insert(0, rule)
            case "-D":
                chains[name].remove(rule)
            case "-F":
                chains[name].clear()
            case "-X":
                used = any(rule.split()[-1] == name for rules in chains.values() for rule in rules)
                assert not chains[name] and not used
                del chains[name]
            case _:
                raise AssertionError(command)
