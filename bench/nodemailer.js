// The mail pool that ours is compared with, at its best: connections are kept for good, and every mail is handed over before the first
// is sent. Driven over standard input and output by the row `mail` of the channels' benchmark:
//
//   node nodemailer.js PORT CONNECTIONS MAILS
//
// It says `ready`; told the body of a mail, in JSON, it sends them all and says `done SECONDS`.
const nodemailer = require('nodemailer');
const readline = require('node:readline');

async function run(port, connections, mails, text) {
  const pool = nodemailer.createTransport({
    host: '127.0.0.1', port: Number(port), secure: false, ignoreTLS: true,
    pool: true, maxConnections: Number(connections), maxMessages: Infinity,
  });
  const start = process.hrtime.bigint();
  const sent = [];
  for (let n = 0; n < Number(mails); n += 1) {
    sent.push(pool.sendMail({
      from: 'Shop <shop@example.org>', to: `user-${n}@example.net`, subject: `Order ${n} is on its way`, text,
    }));
  }
  await Promise.all(sent);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  pool.close();
  console.log(`done ${seconds}`);
  process.exit(0);
}

const [port, connections, mails] = process.argv.slice(2);
const lines = readline.createInterface({ input: process.stdin });
lines.once('line', (line) => {
  lines.close();
  run(port, connections, mails, JSON.parse(line)).catch((error) => { console.log(`failed ${error}`); process.exit(1); });
});
console.log('ready');
