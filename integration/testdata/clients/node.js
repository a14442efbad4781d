// What node-redis does against a server: connect, strings, hashes, sorted sets, expiry, pipelines.
'use strict';
const assert = require('assert');
const redis = require('redis');

const [host, port, token] = process.argv.slice(2);

async function main() {
  const c = redis.createClient({ socket: { host, port: Number(port), reconnectStrategy: false }, password: token, name: 'node' });
  c.on('error', (e) => { throw e; });
  await c.connect();
  assert.equal(await c.ping(), 'PONG');
  assert.equal(await c.set('s', 'v', { EX: 100 }), 'OK');
  assert.equal(await c.get('s'), 'v');
  assert.ok((await c.ttl('s')) > 0);
  assert.equal(await c.incr('n'), 1);
  assert.equal(await c.hSet('h', { a: '1', b: '2' }), 2);
  assert.deepEqual({ ...(await c.hGetAll('h')) }, { a: '1', b: '2' });
  assert.equal(await c.zAdd('z', [{ score: 1, value: 'x' }, { score: 2, value: 'y' }]), 2);
  assert.deepEqual(await c.zRange('z', 0, -1), ['x', 'y']);
  const replies = await Promise.all(Array.from({ length: 100 }, (_, i) => c.set('p' + i, String(i))));
  assert.ok(replies.every((r) => r === 'OK'));
  const keys = [];
  for await (const key of c.scanIterator({ COUNT: 7 })) keys.push(key);
  assert.equal(new Set(keys).size, 104);
  assert.equal(await c.dbSize(), 104);
  await assert.rejects(c.hGet('s', 'a'), /WRONGTYPE/);
  assert.equal(await c.flushAll(), 'OK');
  await c.quit();
  console.log('ok');
}

main().catch((e) => { console.error(e); process.exit(1); });
