import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ESLint } from 'eslint';
import { describe, expect, it } from 'vitest';

const ROOT = path.join(import.meta.dirname, '..');

/** What lint says about one import in a file of a project. */
async function verdict(project: string, imported: string): Promise<readonly string[]> {
  const folder = mkdtempSync(path.join(ROOT, project, 'src', 'boundary-test-'));
  try {
    const file = path.join(folder, 'probe.ts');
    writeFileSync(file, `import * as probe from '${imported}';\nexport const used: unknown = probe;\n`);
    const [result] = await new ESLint({ cwd: ROOT }).lintFiles([file]);
    return (result?.messages ?? [])
      .filter(({ ruleId }) => ruleId === '@nx/enforce-module-boundaries')
      .map(({ message }) => message);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the boundaries between projects', { timeout: 60_000 }, () => {
  it.each([
    ['libs/contract', '@muster/broker', 'a pure library uses nothing of Node'],
    ['libs/contract', 'mqtt', 'and no package but zod'],
    ['apps/console', '@muster/database', 'the page uses pure libraries alone'],
    ['apps/ingestion', '@muster/engines', 'a service uses nothing made for development'],
    ['apps/ingestion', '@muster/presence/src/fleet.ts', 'no app imports another'],
    ['libs/service', '@muster/engines', 'a library of services neither'],
  ])('%s must not import %s: %s', async (project, imported) => {
    expect(await verdict(project, imported)).toHaveLength(1);
  });

  it.each([
    ['apps/ingestion', '@muster/contract'],
    ['apps/cli', '@muster/engines'],
    ['libs/broker', '@muster/contract'],
  ])('%s may import %s', async (project, imported) => {
    expect(await verdict(project, imported)).toEqual([]);
  });
});
