# An HTTPS server with the arguments and the output of peer.go, for HTTP/1.0: every body ends with its connection.
import collections
import http.server
import signal
import ssl
import sys
import threading

counts = collections.Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        size = int(self.path[7:]) if self.path.startswith("/bytes/") else 5
        status = 200 if size > 5 or self.path == "/page" else 404
        counts[f"{self.command} {self.path} {status}"] += 1
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"x" * size)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


def end(*arguments):
    threading.Thread(target=server.shutdown).start()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
signal.signal(signal.SIGTERM, end)
print(server.server_address[1], flush=True)
server.serve_forever()
for request, number in counts.items():
    print(request, number)
