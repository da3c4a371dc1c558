#!/usr/bin/env bash
# open_clip_torch 3.3.0: a download that is cut off is kept as the whole file.
#
# What happens: download_pretrained_from_url reads until the server sends no more and
# never compares what came with Content-Length. It writes under the final name. If the
# connection ends early and the address holds no SHA-256, there is no error, and the
# next call takes the file that is there.
#
# Why it matters: a bad network leaves part of a checkpoint in ~/.cache/clip. The
# failure comes later and elsewhere ("PytorchStreamReader failed ..."), on each start,
# until someone deletes the file. Download to another name, compare the size, rename.
#
# Seen (the server promises 1,000,000 bytes and closes after 1,000; torch is not needed,
# only the module with the download is loaded):
#   call 1: no error, 1000 bytes, 1 request(s) so far
#   call 2: no error, 1000 bytes, 1 request(s) so far
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-deps open_clip_torch==3.3.0 tqdm==4.70.1
cd "$tmp"
venv/bin/python - <<'END'
import http.server
import importlib
import importlib.util
import os
import sys
import threading
import types
import urllib.request  # open_clip leaves this import to others

package = types.ModuleType("open_clip")  # without open_clip/__init__.py, which wants torch
package.__path__ = importlib.util.find_spec("open_clip").submodule_search_locations
sys.modules["open_clip"] = package
download = importlib.import_module("open_clip.pretrained").download_pretrained_from_url
requests = []


class CutOff(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        requests.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(bytes(1000))

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), CutOff)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/weights.pt"
sizes = []
for call in (1, 2):
    sizes.append(os.path.getsize(download(url, "cache")))
    print(f"call {call}: no error, {sizes[-1]} bytes, {len(requests)} request(s) so far")
if not (sizes == [1000, 1000] and len(requests) == 1):
    sys.exit("changed: expected the 1,000 bytes to be kept and used again")
END
