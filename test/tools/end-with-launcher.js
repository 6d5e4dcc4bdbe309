// Preloaded by launcher.test.ts: what the command does first.

import { endWithLauncher } from '../../collector/bin/node24.js';

endWithLauncher();
