// An HTTPS server or client with the arguments and the output of peer.go, for HTTP/1.1.
'use strict';
const fs = require('fs');
const https = require('https');

const [role, ...args] = process.argv.slice(2);
const counts = new Map();

function count(method, path, status) {
  const request = `${method} ${path} ${status}`;
  counts.set(request, (counts.get(request) || 0) + 1);
}

function tell() {
  for (const [request, number] of counts) console.log(request, number);
}

function serve(certificate, key) {
  const server = https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }, (request, response) => {
    request.resume();
    request.on('end', () => {
      const size = request.url.startsWith('/bytes/') ? Number(request.url.slice(7)) : 5;
      response.statusCode = size > 5 || request.url === '/page' ? 200 : 404;
      count(request.method, request.url, response.statusCode);
      response.end('x'.repeat(size));
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
  process.on('SIGTERM', () => { tell(); process.exit(0); });
}

function connect(port, file, requests) {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 4, rejectUnauthorized: false });
  let [begun, ended] = [0, 0];
  const next = () => {
    if (begun === requests) return;
    const number = begun++;
    const path = ['/page', '/missing', '/bytes/20000'][number % 3];
    const method = number % 5 === 0 ? 'POST' : 'GET';
    const request = https.request({ host: '127.0.0.1', port, path, method, agent }, (response) => {
      response.resume();
      response.on('end', () => {
        count(method, path, response.statusCode);
        if (++ended === requests) {
          tell();
          agent.destroy();
        }
        next();
      });
    });
    request.end(method === 'POST' ? 'y'.repeat(5000) : undefined);
  };
  const wait = setInterval(() => {
    if (!fs.existsSync(file)) return;
    clearInterval(wait);
    for (let worker = 0; worker < 4; worker++) next();
  }, 10);
}

if (role === 'server') serve(...args);
else connect(Number(args[0]), args[1], Number(args[2]));
