"""Variables that look like settings and are none."""

from schemas.spelling import unknown_variables


def test_a_misspelt_setting_is_told_with_the_one_that_it_resembles() -> None:
    environ = {
        "WALLETQ_SMPT_URL": "smtp://h",
        "WALLETQ_DATABASE_URI_FILE": "/run/secrets/url",
        "WALLETQ_CATALOGUE_FILE": "/etc/walletq.toml",
        "WALLETQ_XYZ": "1",
    }
    assert unknown_variables(environ) == {
        "WALLETQ_SMPT_URL": "WALLETQ_SMTP_URL",
        "WALLETQ_DATABASE_URI_FILE": "WALLETQ_DATABASE_URL_FILE",
        "WALLETQ_CATALOGUE_FILE": "WALLETQ_CATALOGUE",
        "WALLETQ_XYZ": None,
    }


def test_what_is_known_empty_or_not_ours_is_not_told() -> None:
    environ = {"WALLETQ_SMTP_URL": "smtp://h", "WALLETQ_SMTP_URL_FILE": "/x", "WALLETQ_XYZ": "", "OTHER": "1"}
    assert unknown_variables(environ) == {}
    assert unknown_variables({"WALLETQ_TEST_SERVERS": "embedded", "WALLETQ_CACHE": "/cache"}) == {}


def test_what_kubernetes_tells_of_a_service_is_not_told_and_a_misspelt_port_is() -> None:
    service = {
        "WALLETQ_ALLOCATOR_SERVICE_HOST": "10.0.0.1",
        "WALLETQ_ALLOCATOR_SERVICE_PORT": "8080",
        "WALLETQ_ALLOCATOR_SERVICE_PORT_HTTP": "8080",
        "WALLETQ_ALLOCATOR_PORT": "tcp://10.0.0.1:8080",
        "WALLETQ_ALLOCATOR_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "WALLETQ_ALLOCATOR_PORT_8080_TCP_ADDR": "10.0.0.1",
        "WALLETQ_SERVICE_HOST": "10.0.0.2",  # of a Service that is named walletq
        "WALLETQ_PORT": "tcp://10.0.0.2:8080",
    }
    assert unknown_variables(service) == {}
    assert unknown_variables(service | {"WALLETQ_HTP_PORT": "80"}) == {"WALLETQ_HTP_PORT": "WALLETQ_HTTP_PORT"}
