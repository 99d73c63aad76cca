// Sends by two functions, and receives by Node's event loop. Each function waits for its callback, so its bytes have
// left before the next function begins.
const fs = require('fs');
const net = require('net');

const [port, file, rounds] = [process.argv[2], process.argv[3], Number(process.argv[4])];
let state = BigInt(process.argv[5]);

function amount(most) {
  state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
  return Number(1n + (state >> 33n) % BigInt(most));
}

function sendSmall(socket, then) {
  const bytes = Buffer.alloc(amount(100));
  socket.write(bytes, then);
  return bytes.length;
}

function sendLarge(socket, then) {
  const bytes = Buffer.alloc(amount(20000));
  socket.write(bytes, then);
  return bytes.length;
}

async function main() {
  while (!fs.existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 10));
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await new Promise((resolve) => socket.once('connect', resolve));
  let [small, large, received] = [0, 0, 0];
  socket.on('data', (bytes) => (received += bytes.length));
  for (let i = 0; i < rounds; i++) {
    await new Promise((resolve) => (small += sendSmall(socket, resolve)));
    await new Promise((resolve) => (large += sendLarge(socket, resolve)));
    if (i === 0) await new Promise((resolve) => setTimeout(resolve, 300));
  }
  socket.end();
  await new Promise((resolve) => socket.once('end', resolve));
  console.log(JSON.stringify({ send_small: small, send_large: large, receive_all: received }));
}

main();
