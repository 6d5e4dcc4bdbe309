// Set-up as a whole, in a small checkout whose npm, compiler and pip are stand-ins: what is done, what is not done twice,
// what is said when something is missing or fails, and what a kill leaves behind.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const WAIT_MS = 20_000;
const base = await mkdtemp(join(tmpdir(), 'meshtrail set-up '));
let checkout = '';
let checkouts = 0;

// Each stand-in notes that it ran; NPM_MODE makes npm fail, or stay.
const NPM = `import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
appendFileSync('journal', 'npm\\n');
if (process.env.NPM_MODE === 'fail') { console.error('npm error network is down'); process.exit(7); }
mkdirSync('node_modules/assemblyscript/bin', { recursive: true });
writeFileSync('node_modules/assemblyscript/bin/asc.js', process.env.ASC);
if (process.env.NPM_MODE === 'stay') setTimeout(() => {}, ${WAIT_MS});`;
const ASC = `import { appendFileSync, writeFileSync } from 'node:fs';
const isKernel = process.argv.includes('collector/assembly/asconfig.json');
const target = isKernel ? 'kernel' : process.argv.at(-1);
appendFileSync('journal', 'asc ' + target + '\\n');
writeFileSync({ release: 'build/filter.wasm', debug: 'build/filter.debug.wasm', kernel: 'build/merkle.wasm' }[target], target);`;
const PYTHON = `#!/bin/sh
case "$*" in
  *download*) echo pip >> journal; for last; do :; done; : > "$last/envoy.whl" ;;
  *zipfile*) for last; do :; done; mkdir -p "$last/envoy/_bin"; printf '#!/bin/sh\\necho envoy\\n' > "$last/envoy/_bin/envoy" ;;
esac
echo ok
`;

beforeEach(async () => {
  checkouts += 1;
  checkout = join(base, `copy ${checkouts}`);
  await cp(join(ROOT, 'tools'), join(checkout, 'tools'), { recursive: true });
  await cp(join(ROOT, 'collector', 'bin'), join(checkout, 'collector', 'bin'), { recursive: true });
  await mkdir(join(checkout, 'filter', 'assembly'), { recursive: true });
  for (const file of ['package-lock.json', 'asconfig.json', join('filter', 'assembly', 'index.ts')]) {
    await writeFile(join(checkout, file), '{}');
  }
  await writeFile(join(checkout, 'package.json'), '{"type":"module"}');
  await writeFile(join(checkout, 'npm-cli.js'), NPM);
  await writeFile(join(checkout, 'python'), PYTHON);
  await chmod(join(checkout, 'python'), 0o755);
});
after(() => rm(base, { recursive: true }));

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  const { CI: _, MESHTRAIL_ENVOY: __, ...inherited } = process.env;
  return spawn(process.execPath, [join(checkout, 'tools', 'set-up.js'), ...args], {
    cwd: tmpdir(),
    env: {
      ...inherited,
      MESHTRAIL_NODE: process.execPath,
      npm_execpath: join(checkout, 'npm-cli.js'),
      PYTHON: join(checkout, 'python'),
      ASC,
      ...env,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: WAIT_MS,
    killSignal: 'SIGKILL',
  });
}

async function finish(child: ChildProcess): Promise<{ readonly code: number | null; readonly said: string }> {
  let said = '';
  child.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, said };
}

function setUp(args: readonly string[], env: NodeJS.ProcessEnv = {}): ReturnType<typeof finish> {
  return finish(start(args, env));
}

async function journal(): Promise<string[]> {
  return (await readFile(join(checkout, 'journal'), 'utf8')).trim().split('\n');
}

const ALL = ['npm', 'asc release', 'asc debug', 'asc kernel', 'pip'];
const FILTER_AND_ENVOY = ['asc release', 'asc debug', 'pip'];
const isLinux = process.platform === 'linux';
const onLinux = { skip: isLinux ? false : 'Envoy comes as a Linux wheel only' };

test('everything is done once, and nothing the second time', onLinux, async () => {
  assert.deepEqual(await setUp(['--envoy']), { code: 0, said: '' });
  assert.deepEqual(await journal(), ALL);
  const digest = createHash('sha256').update('release').digest('hex');
  assert.equal(await readFile(join(checkout, 'build', 'filter.wasm.sha256'), 'utf8'), `${digest}  filter.wasm\n`);
  assert.deepEqual(await readdir(join(checkout, '.tools', 'envoy')), ['envoy']);
  assert.deepEqual(await readdir(join(checkout, '.tools', 'set-up.lock')), []);
  assert.deepEqual(await setUp(['--envoy']), { code: 0, said: '' });
  assert.deepEqual(await journal(), ALL);
});

test('only what changed or is gone is done again', onLinux, async () => {
  await setUp(['--envoy']);
  await writeFile(join(checkout, 'filter', 'assembly', 'more.ts'), '');
  await rm(join(checkout, '.tools', 'envoy', 'envoy'));
  await setUp(['--envoy']);
  assert.deepEqual((await journal()).slice(ALL.length), FILTER_AND_ENVOY);
  await rm(join(checkout, 'node_modules'), { recursive: true });
  await setUp(['--envoy']);
  assert.deepEqual((await journal()).slice(ALL.length + FILTER_AND_ENVOY.length), ['npm']);
});

test('three at once: one works, the others find it done', onLinux, async () => {
  const all = await Promise.all([setUp(['--envoy']), setUp(['--envoy']), setUp(['--envoy'])]);
  assert.deepEqual(
    all.map(({ code }) => code),
    [0, 0, 0],
  );
  assert.deepEqual(await journal(), ALL);
});

test('a program that fails shows its last lines and what to do; a missing one is named in one line', async () => {
  const failed = await setUp([], { NPM_MODE: 'fail' });
  assert.equal(failed.code, 1);
  assert.match(
    failed.said,
    /exit code 7:\nnpm error network is down\nset-up: Check the network .*`npm run setup` again\.\n$/,
  );
  const noNpm = await setUp([], { npm_execpath: '', PATH: join(checkout, 'nothing') });
  assert.equal(noNpm.code, 3);
  assert.match(noNpm.said, /^set-up: npm is missing: .*\n$/);
});

test('Envoy is demanded, optional outside CI, or given', onLinux, async () => {
  const noPython = { PYTHON: join(checkout, 'nothing') };
  const demanded = await setUp(['--envoy'], noPython);
  assert.equal(demanded.code, 3);
  assert.match(demanded.said, /^set-up: .*nothing is missing: install Python 3 with pip .*MESHTRAIL_ENVOY.*\n$/);
  const optional = await setUp(['--envoy=optional'], noPython);
  assert.equal(optional.code, 0);
  assert.match(optional.said, /^set-up: going on without Envoy.*Python 3 with pip.*\n$/);
  assert.equal((await setUp(['--envoy=optional'], { ...noPython, CI: 'true' })).code, 3);
  assert.equal((await setUp(['--envoy'], { ...noPython, MESHTRAIL_ENVOY: process.execPath })).code, 0);
  const broken = await setUp(['--envoy'], { MESHTRAIL_ENVOY: join(checkout, 'nothing') });
  assert.equal(broken.code, 3);
  assert.match(broken.said, /^set-up: MESHTRAIL_ENVOY is .*nothing, which does not answer.*\n$/);
});

async function startedNpm(): Promise<ChildProcess> {
  const child = start([], { NPM_MODE: 'stay' });
  for (const deadline = performance.now() + WAIT_MS; !existsSync(join(checkout, 'journal')); ) {
    assert.ok(performance.now() < deadline, 'npm was not started');
    await new Promise((done) => setTimeout(done, 20));
  }
  return child;
}

test('a stopped set-up stops its program, and the next one starts anew', async () => {
  const stopped = await startedNpm();
  stopped.kill('SIGTERM');
  assert.equal((await finish(stopped)).code, 143);
  assert.equal((await setUp([])).code, 0);
  assert.deepEqual(await journal(), ['npm', ...ALL.slice(0, -1)]);
});

test('after a kill the next set-up waits for the program left behind', async () => {
  const killed = await startedNpm();
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  const [left = ''] = (await readdir(join(checkout, '.tools', 'set-up.lock'))).filter(
    (name) => Number.parseInt(name, 10) !== killed.pid,
  );
  const next = start([]);
  let said = '';
  next.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  while (!said.includes('waiting')) await once(next.stderr ?? next, 'data');
  assert.equal(said, `set-up: waiting for another set-up (process ${Number.parseInt(left, 10)})\n`);
  process.kill(Number.parseInt(left, 10), 'SIGKILL');
  const [code] = await once(next, 'close');
  assert.equal(code, 0);
  assert.deepEqual(await journal(), ['npm', ...ALL.slice(0, -1)]);
});
