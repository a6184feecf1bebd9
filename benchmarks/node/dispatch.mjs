// A dispatcher as the seed's is: Node, npm `ws`, everything in memory, one job a message.
// A result is answered by the next job; with `batch` in its register a connection gets so many jobs
// a message and answers them together. A result of a job that it does not have ends that connection.
// Not here: durability, verification, money, signatures, submitters (jobs are made on the spot).
import { randomUUID } from 'node:crypto';
import { WebSocketServer } from 'ws';

const PARAMS = { prefix: '', start: 1, count: 1, target_bits: 200 };
const nodes = new Map();
const jobs = new Map();

function newJob(nodeId) {
  const id = randomUUID();
  jobs.set(id, nodeId);
  return { id, kind: 'hashsearch', params: PARAMS, fence: 1, executionS: 300 };
}

function nextMessage(nodeId, batch) {
  if (batch === 1) return JSON.stringify({ type: 'job', ...newJob(nodeId) });
  return JSON.stringify({ type: 'jobs', jobs: Array.from({ length: batch }, () => newJob(nodeId)) });
}

function finish(nodeId, result) {
  if (jobs.get(result.id) !== nodeId) throw new Error(`no such job: ${result.id}`);
  jobs.delete(result.id);
  const node = nodes.get(nodeId);
  node.done += 1;
  node.earned += 0.01;
}

function receive(ws, state, message) {
  switch (message.type) {
    case 'register':
      state.nodeId = randomUUID();
      state.batch = message.batch ?? 1;
      nodes.set(state.nodeId, { done: 0, earned: 0, lastHeartbeat: Date.now() });
      ws.send(JSON.stringify({ type: 'registered', nodeId: state.nodeId }));
      break;
    case 'heartbeat':
      nodes.get(state.nodeId).lastHeartbeat = Date.now();
      ws.send(JSON.stringify({ type: 'ack' }));
      return;
    case 'job_result':
      finish(state.nodeId, message);
      break;
    case 'job_results':
      for (const result of message.results) finish(state.nodeId, result);
      break;
    default:
      throw new Error(`unknown type: ${message.type}`);
  }
  ws.send(nextMessage(state.nodeId, state.batch));
}

const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
server.on('connection', (ws) => {
  const state = { nodeId: null, batch: 1 };
  ws.on('message', (data) => {
    try {
      receive(ws, state, JSON.parse(data.toString()));
    } catch (error) {
      ws.close(1008, error.message.slice(0, 100));
    }
  });
});
server.on('listening', () => console.log(`listening on ${server.address().port}`));
