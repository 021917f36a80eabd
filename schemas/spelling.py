"""Variables that look like settings and are none: whoever misspells one is told, since it does nothing by itself.

They stop nothing: an environment is shared. It may have what Kubernetes tells of a Service that is named walletq-…, and
after a step back the settings of the newer version.
"""

from collections.abc import Mapping
from difflib import get_close_matches

from schemas.settings import PREFIX, SECRETS, Settings

_OTHERS = (PREFIX + "TEST_", PREFIX + "CACHE")
"What the tests are told, and where the embedded servers' downloads are kept."


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """The variables `WALLETQ_…` that are no settings, each with the setting that it resembles most, if any."""
    known = {name.upper() for name in Settings.model_fields} | {
        secret.removeprefix(PREFIX) + "_FILE" for secret in SECRETS
    }
    services = [name.removesuffix("SERVICE_HOST") for name in environ if name.endswith("_SERVICE_HOST")]
    others = (*_OTHERS, *(service + kind for service in services for kind in ("SERVICE_", "PORT")))
    names = [
        name.removeprefix(PREFIX)
        for name, value in environ.items()
        if value and name.startswith(PREFIX) and not name.startswith(others)
    ]
    closest = {name: get_close_matches(name, sorted(known), n=1) for name in names if name not in known}
    return {PREFIX + name: PREFIX + found[0] if found else None for name, found in closest.items()}
