"""Lists the configs of vitax, or prints one.

vitax configs                     all names, with what they are
vitax configs vit_b16 > my.py     a copy to change: vitax train my.py
"""

import ast

from vitax.cli import Arguments, Command
from vitax.config_file import find_config, shipped
from vitax.errors import UserError


def run(arguments: Arguments) -> None:
    """Prints the list, or the text of one config.

    Raises:
        UserError: several names, or an unknown one.
    """
    if len(arguments.positional) > 1:
        raise UserError("name one config")
    for name in arguments.positional:
        print(find_config(name).read_text(encoding="utf-8"), end="")
        return
    known = shipped()
    width = max(map(len, known))
    for name, path in known.items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        print(f"{name:{width}}  {' '.join(text.split(chr(10) * 2)[0].split())}")


COMMAND = Command(__doc__, (), run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
