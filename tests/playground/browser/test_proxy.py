"""The page behind a real nginx, which rewrites Host, under two paths of its own."""

import shutil
import subprocess
import time
import urllib.request

import pytest
from test_draw_mask import open_figure, paint_with_keys

# As small as it gets: Host is not passed on, which is what nginx does by itself.
CONFIG = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_http_version 1.1;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection upgrade;
  server {{
    listen 127.0.0.1:{port};
    location /taken/off/ {{ proxy_pass http://127.0.0.1:{own}/; }}
    location /kept/ {{ proxy_pass http://127.0.0.1:{own}; }}
    location /strange/ {{ proxy_pass http://127.0.0.1:{other}/; }}
  }}
}}
"""


def port_of(address):
  return int(address.rpartition(":")[2])


@pytest.fixture(scope="module")
def proxy(playground_settings, server, run_server, free_port, tmp_path_factory):
  """Address of an nginx before a playground that knows it and one that does not."""
  nginx = shutil.which("nginx")
  if nginx is None:
    pytest.fail("no nginx on the PATH (Debian: apt-get install nginx-light)")
  folder, port = tmp_path_factory.mktemp("nginx"), free_port()
  address = f"127.0.0.1:{port}"
  named = playground_settings._replace(allowed_hosts=(address,), root_path="/kept")
  with run_server(named) as own:
    config = folder / "nginx.conf"
    ports = {"port": port, "own": port_of(own), "other": port_of(server)}
    config.write_text(CONFIG.format(folder=folder, **ports))
    process = subprocess.Popen(
      [nginx, "-p", folder, "-c", config], stderr=subprocess.PIPE
    )
    try:
      wait_for(f"http://{address}/taken/off/", process)
      yield f"http://{address}"
    finally:
      process.terminate()
      process.communicate()


def wait_for(url, process):
  while True:
    assert process.poll() is None, process.stderr.read()
    try:
      return urllib.request.urlopen(url).close()
    except OSError:
      time.sleep(0.05)


@pytest.mark.parametrize("path", ["/taken/off/", "/kept/"])
def test_the_page_works_under_a_path_of_a_proxy(open_page, proxy, path):
  page = open_page(path, server=proxy)
  # Samples have loaded, and the socket answers what the network makes of a mask.
  shown = page.locator("#draw-mask .thumbnails img").first
  assert shown.evaluate("image => image.complete && image.naturalWidth > 0")
  figure = open_figure(page)
  paint_with_keys(figure, page)
  figure.get_by_role("button", name="Predict").click()
  figure.locator(".strip img").first.wait_for()
  assert page.locator("#status").inner_text() == ""


def test_a_proxy_that_is_not_known_is_said_in_one_line(open_page, proxy):
  page = open_page("/strange/", server=proxy, ready="#status:not(:empty)")
  option = f"--allowed-host '{proxy.removeprefix('http://')}'"
  assert option in page.locator("#status").inner_text()
  # The browser notes the refused request by itself.
  assert all("403" in complaint for complaint in open_page.complaints)
  open_page.complaints.clear()
