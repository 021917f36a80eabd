"""TLS with the mail server: whom we trust, and what to do where that does not hold."""

import ssl
from pathlib import Path

from schemas.settings import SettingsError

_CAFILE = "; where the authority is your own, name its certificate in WALLETQ_SMTP_TLS_CAFILE"
_HOST = "; WALLETQ_SMTP_URL must name the host as its certificate does"
# X509_V_ERR_… of OpenSSL's x509_vfy.h
_ADVICE = {18: _CAFILE, 19: _CAFILE, 20: _CAFILE, 21: _CAFILE, 62: _HOST, 64: _HOST}


def trusting(cafile: Path | None) -> ssl.SSLContext:
    """What verifies a server's certificate and name: the system's authorities, or those of the file and no others.

    Raises:
        SettingsError: there are no certificates in the file.
    """
    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError without a strerror of its own
        reason = "no certificates in PEM" if isinstance(error, (ssl.SSLError, ValueError)) else error.strerror
        raise SettingsError(f"WALLETQ_SMTP_TLS_CAFILE: {cafile} cannot be read: {reason}") from None


def what_is_wrong(error: ssl.SSLError) -> str:
    """In words for an operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate does not verify: {error.verify_message}{_ADVICE.get(error.verify_code, '')}"
    return f"TLS does not work: {getattr(error, 'reason', None) or type(error).__name__}"
