import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Gives a run of tests one folder for everything that it writes; it is kept only where a test has failed. */
export function useFolderOfRun(): void {
  const folder = mkdtempSync(path.join(tmpdir(), 'muster-tests-'));
  // Engines may run as somebody else, who has to come through.
  chmodSync(folder, 0o755);
  process.env['TMPDIR'] = folder;
  process.on('exit', (code) => {
    if (code === 0) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    else process.stderr.write(`what the tests have written is kept: ${folder}\n`);
  });
}
