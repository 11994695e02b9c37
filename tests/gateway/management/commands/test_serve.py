"""The parts of `serve` that need no processes; tests/test_make_run.py starts the whole."""

from __future__ import annotations

import json
import shlex
import sys

import pytest
from django.core.management import call_command

from gateway.management.commands import serve

ENVIRONMENT = {"PATH": "/usr/bin"}


class TestCurlLine:
    def test_is_one_line_that_a_shell_takes_apart_again(self):
        line = serve.curl_line("http://127.0.0.1:5052", "enc_a_b")

        words = shlex.split(line)
        assert "\n" not in line
        assert words[:3] == ["curl", "-sS", "http://127.0.0.1:5052/v2/code/completions"]
        assert "Authorization: Bearer enc_a_b" in words
        assert json.loads(words[-1])["current_file"]["content_above_cursor"].startswith("def ")


class TestBaseUrl:
    @pytest.mark.parametrize(
        ("host", "url"),
        [
            ("127.0.0.1", "http://127.0.0.1:5052"),
            ("0.0.0.0", "http://127.0.0.1:5052"),
            ("::", "http://[::1]:5052"),
            ("gateway.example.com", "http://gateway.example.com:5052"),
        ],
    )
    def test_is_an_address_that_can_be_called(self, host, url):
        assert serve.base_url(host, 5052) == url


class TestLacksSecrets:
    def test_is_false_where_the_environment_brings_them(self, settings):
        settings.SECRET_KEY = "s" * 60
        settings.GATEWAY_ENCRYPTION_KEYS = ["k"]

        assert not serve.lacks_secrets()

    def test_is_true_without_encryption_keys(self, settings):
        settings.GATEWAY_ENCRYPTION_KEYS = []

        assert serve.lacks_secrets()

    def test_is_true_on_the_stand_in_of_the_development_settings(self, settings):
        source = (settings.BASE_DIR / "gateway/settings/development.py").read_text()
        settings.SECRET_KEY = source.split('SECRET_KEY or "', 1)[1].split('"', 1)[0]

        assert serve.lacks_secrets()


class TestSocketPath:
    def test_is_in_the_data_directory(self, tmp_path):
        assert serve.socket_path(tmp_path) == tmp_path.resolve() / "redis.sock"

    def test_is_a_private_short_one_where_that_is_too_long_for_the_kernel(self, tmp_path):
        path = serve.socket_path(tmp_path / ("long" * 30))

        assert len(bytes(path)) < 108
        assert path.parent.stat().st_mode & 0o777 == 0o700
        path.parent.rmdir()


class TestRedis:
    def test_has_no_port_keeps_nothing_and_evicts_nothing(self, tmp_path):
        command = shlex.join(
            serve.redis("/usr/bin/redis-server", tmp_path / "s", tmp_path, ENVIRONMENT).command
        )

        assert "--port 0 " in command
        assert "--unixsocketperm 600" in command
        assert "--save ''" in command
        assert "--maxmemory-policy noeviction" in command


class TestWeb:
    def test_names_an_ipv6_address_in_brackets(self):
        command = serve.web(ENVIRONMENT, host="::1", port=6000, workers=2).command

        assert "[::1]:6000" in command
        assert command[0] == sys.executable

    def test_gives_streams_the_time_that_gunicorn_gives_them(self):
        from gateway import gunicorn_conf

        assert gunicorn_conf.graceful_timeout < serve.DRAIN_S


class TestHelp:
    def test_works_before_there_are_any_keys(self, settings, capsys):
        settings.GATEWAY_ENCRYPTION_KEYS = []

        with pytest.raises(SystemExit):
            call_command("serve", "--help")

        assert "--port" in capsys.readouterr().out
