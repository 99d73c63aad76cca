// A server of HTTP by Node's own library: `node peer.js http1` or `http2` (without TLS). It prints its port, and a line
// for each request that it answers: method, path, status.
'use strict';

const http2 = process.argv[2] === 'http2';
const library = require(http2 ? 'node:http2' : 'node:http');

function answer(request, response) {
    const path = request.url.split('?')[0];
    const [, kind, number] = path.split('/');
    request.resume();
    request.on('end', () => {
        if (kind === 'status') {
            response.statusCode = Number(number);
            response.end();
        } else if (kind === 'chunked') {
            for (let left = Number(number); left > 0; left -= 1000) response.write('c'.repeat(Math.min(left, 1000)));
            response.end();
        } else if (kind === 'bytes') {
            response.setHeader('content-length', number);
            response.end('b'.repeat(Number(number)));
        } else {
            response.statusCode = 404;
            response.end('there is nothing');
        }
        console.log(request.method, path, response.statusCode);
    });
}

const server = library.createServer(answer);
server.listen(0, '127.0.0.1', () => console.log('listening', server.address().port));
