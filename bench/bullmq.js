// The queue that the schedule is compared with, at its best: jobs added in bulk, a worker process for each core, a processor that does
// nothing, finished jobs removed at once. Driven over standard input and output by the row `schedule` of the dispatcher's benchmark:
//
//   node bullmq.js PORT WORKERS CONCURRENCY JOBS
//
// It adds the jobs, starts the workers, says `ready`; told `go` it works all jobs off and says `done SECONDS`.
const { fork } = require('node:child_process');
const readline = require('node:readline');
const { Queue, Worker } = require('bullmq');

// A server in cluster mode wants the keys of a script in one slot.
const NAME = 'compared';
const PREFIX = '{bullmq}';
const BULK = 1000;

function connection(port) {
  return { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
}

async function work(port, concurrency) {
  let done = 0;
  let told = 0;
  const worker = new Worker(NAME, async () => {}, {
    autorun: false, connection: connection(port), prefix: PREFIX, concurrency: Number(concurrency),
    removeOnComplete: { count: 0 }, removeOnFail: { count: 0 },
  });
  worker.on('completed', () => { done += 1; });
  worker.on('error', (error) => { console.error(error); process.exit(1); });
  await worker.waitUntilReady();
  process.on('message', () => { worker.run(); });
  setInterval(() => {
    if (done !== told) { process.send(done - told); told = done; }
  }, 5);
  process.send('ready');
}

async function lead(port, workers, concurrency, jobs) {
  const queue = new Queue(NAME, { connection: connection(port), prefix: PREFIX });
  await queue.obliterate({ force: true });
  for (let first = 0; first < jobs; first += BULK) {
    const bulk = [];
    for (let n = first; n < Math.min(first + BULK, jobs); n += 1) {
      bulk.push({ name: 'push', data: { to: `u${n}`, body: 'x'.repeat(100) }, opts: { removeOnComplete: true, removeOnFail: true } });
    }
    await queue.addBulk(bulk);
  }
  let ready = 0;
  let left = jobs;
  let start = 0n;
  const children = [];
  for (let n = 0; n < workers; n += 1) {
    const child = fork(__filename, ['work', port, concurrency]);
    children.push(child);
    child.on('message', (message) => {
      if (message === 'ready') {
        ready += 1;
        if (ready === workers) console.log('ready');
        return;
      }
      left -= message;
      if (left <= 0) {
        console.log(`done ${Number(process.hrtime.bigint() - start) / 1e9}`);
        children.forEach((each) => each.kill('SIGKILL'));
        process.exit(0);
      }
    });
  }
  readline.createInterface({ input: process.stdin }).on('line', () => {
    start = process.hrtime.bigint();
    children.forEach((child) => child.send('go'));
  });
}

const [first, ...rest] = process.argv.slice(2);
if (first === 'work') {
  work(...rest);
} else {
  const [workers, concurrency, jobs] = rest.map(Number);
  lead(first, workers, concurrency, jobs).catch((error) => { console.error(error); process.exit(1); });
}
