// The launcher of the command: same exit code, signals passed on, nothing left behind, and one line when something is missing.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../collector/bin/', import.meta.url));
const NODE24 = join(BIN, 'node24.js');
const WAIT_MS = 10_000;
const PYTHON = process.env['PYTHON'] ?? 'python3';
/** Gives a program a terminal of its own, whose keys are this one's standard input. */
const TERMINAL = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])) % 256)';
const CTRL_C = '\u0003';
const ENDED_BY_SIGINT = 254;
/** Longer than the launcher waits for its child's word. */
const QUIET_MS = 2000;
let checkout = '';

before(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'meshtrail launcher '));
  await cp(BIN, join(checkout, 'collector', 'bin'), { recursive: true });
  await mkdir(join(checkout, 'collector', 'src', 'cli'), { recursive: true });
  await mkdir(join(checkout, 'node_modules'));
  await writeFile(join(checkout, 'package.json'), '{"type":"module"}');
  await writeFile(join(checkout, 'collector', 'src', 'telemetry.ts'), "process.stdout.write('telemetry ');\n");
  await writeFile(
    join(checkout, 'collector', 'src', 'cli', 'main.ts'),
    `export async function main(argv: string[]): Promise<number> {
      process.stdout.write(argv.join(' '));
      return Number(argv.at(-1));
    }\n`,
  );
});
after(() => rm(checkout, { recursive: true }));

interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, MESHTRAIL_NODE: '', ...env },
    timeout: WAIT_MS,
    killSignal: 'SIGKILL',
  });
}

async function outcome(child: ChildProcess): Promise<Outcome> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    err += chunk;
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, out, err };
}

/** Arguments that run a program under the launcher, as the command does. */
function launched(program: string): string[] {
  const script = `setTimeout(() => {}, ${WAIT_MS}); ${program}`;
  return [NODE24, '--import', new URL('end-with-launcher.js', import.meta.url).href, '-e', script];
}

/** Starts a program under the launcher that says when it is ready and which process it is. */
async function startReady(program: string): Promise<{ readonly launcher: ChildProcess; readonly pid: number }> {
  const launcher = start(launched(`${program}; process.stdout.write(String(process.pid));`));
  if (launcher.stdout === null) throw new Error('no stdout');
  const [chunk] = await once(launcher.stdout, 'data');
  return { launcher, pid: Number(String(chunk)) };
}

test('the exit code and the arguments pass through', async () => {
  const result = await outcome(start([NODE24, '-p', 'process.exitCode = 7; process.argv[1]', 'a b']));
  assert.deepEqual([result.code, result.out], [7, 'a b\n']);
});

test('signals are passed on, and the end by a signal is shown as such', async () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    const handled = await startReady(`process.on('${signal}', () => process.exit(5))`);
    handled.launcher.kill(signal);
    assert.equal((await outcome(handled.launcher)).code, 5, signal);
    const unhandled = await startReady('');
    unhandled.launcher.kill(signal);
    assert.equal((await outcome(unhandled.launcher)).signal, signal);
  }
});

interface AtTerminal {
  /** Waits for a text that is shown, and returns the part in parentheses. */
  until(pattern: RegExp): Promise<string>;
  /** Ctrl-C, which the terminal makes a signal to everything that runs there. */
  press(): void;
  /** A signal to the launcher alone. */
  signal(signal: NodeJS.Signals): void;
}

/** Runs a program under the launcher at a terminal, and returns how it ends. */
async function atTerminal(
  t: TestContext,
  program: string,
  act: (at: AtTerminal) => void | Promise<void>,
): Promise<number | null> {
  const args = [
    '-c',
    TERMINAL,
    process.execPath,
    ...launched(`${program}; console.log(\`launcher \${process.ppid}\`)`),
  ];
  const child = spawn(PYTHON, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, MESHTRAIL_NODE: '' },
  });
  const ended = once(child, 'close') as Promise<[number | null]>;
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  let shown = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (shown += text));
  const until = async (pattern: RegExp): Promise<string> => {
    for (const deadline = performance.now() + WAIT_MS; ; await sleep(10)) {
      const [, found = ''] = pattern.exec(shown) ?? [];
      if (found !== '') return found;
      assert.ok(performance.now() < deadline && child.exitCode === null, shown);
    }
  };
  const pid = Number(await until(/launcher (\d+)\r\n/));
  await act({
    until,
    press: () => void child.stdin.write(CTRL_C),
    signal: (signal) => void process.kill(pid, signal),
  });
  const [code] = await ended;
  return code;
}

// CI has to have it.
const isWithoutTerminal = process.env['CI'] === undefined && spawnSync(PYTHON, ['-c', 'import pty']).status !== 0;

test('at a terminal: one signal is one, from the terminal or to the launcher alone', {
  skip: isWithoutTerminal && `${PYTHON} is needed for a terminal`,
}, async (t) => {
  // Ends with the number of signals that it got, once no more can come.
  const counting = (signal: string): string =>
    `let n = 0; process.on('${signal}', () => { if (n++ === 0) setTimeout(() => process.exit(n), ${QUIET_MS}); })`;
  const patient = `process.once('SIGINT', () => console.log('(stopping)'))`;
  const press = (at: AtTerminal): void => at.press();
  const signal = (name: NodeJS.Signals) => (at: AtTerminal) => at.signal(name);
  const codes = await Promise.all([
    atTerminal(t, counting('SIGINT'), press),
    atTerminal(t, counting('SIGINT'), signal('SIGINT')),
    atTerminal(t, counting('SIGHUP'), signal('SIGHUP')),
    atTerminal(t, '', press),
    atTerminal(t, '', signal('SIGINT')),
    atTerminal(t, patient, async (at) => {
      at.press();
      await at.until(/(\(stopping\))/);
      at.press();
    }),
  ]);
  assert.deepEqual(codes, [1, 1, 1, ENDED_BY_SIGINT, ENDED_BY_SIGINT, ENDED_BY_SIGINT]);
});

test('a killed launcher leaves nothing behind', async () => {
  const { launcher, pid } = await startReady("process.on('SIGTERM', () => process.exit(0))");
  launcher.kill('SIGKILL');
  await once(launcher, 'exit');
  for (const deadline = performance.now() + WAIT_MS; isAlive(pid); ) {
    assert.ok(performance.now() < deadline, 'the child lives on');
    await new Promise((done) => setTimeout(done, 20));
  }
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('verbs run, telemetry is loaded first by the verbs that measure themselves', async () => {
  const command = join(checkout, 'collector', 'bin', 'meshtrail.js');
  const flows = await outcome(start([command, 'flows', '1']));
  assert.deepEqual([flows.code, flows.out, flows.err], [1, 'flows 1', '']);
  for (const verb of ['serve', 'demo']) {
    const { code, out } = await outcome(start([command, verb, '4']));
    assert.deepEqual([code, out], [4, `telemetry ${verb} 4`]);
  }
  assert.equal((await outcome(start([command, 'serve', '--help', '0']))).out, 'serve --help 0');
});

test('what is missing is named in one line, with exit code 3', async () => {
  const command = join(checkout, 'collector', 'bin', 'meshtrail.js');
  const noNode = await outcome(start([NODE24, '-v'], { MESHTRAIL_NODE: join(checkout, 'nothing') }));
  assert.equal(noNode.code, 3);
  assert.match(noNode.err, /^meshtrail: MESHTRAIL_NODE is .*nothing, which is no Node 24 or newer.*\n$/);
  await rm(join(checkout, 'node_modules'), { recursive: true });
  const noPackages = await outcome(start([command, 'flows', '0']));
  assert.equal(noPackages.code, 3);
  assert.match(noPackages.err, /^meshtrail: .*npm run setup.*\n$/);
});
