import { unwatchFile, watchFile } from 'node:fs';
import path from 'node:path';
import { ManagedProcess } from '@muster/engines';

const POLL_MS = 300;
const STOP_LIMIT_MS = 3_000;

/** What is built anew while it is watched. */
export interface WatchPlan {
  /** The folder with apps and node_modules. */
  readonly root: string;
  readonly services: readonly string[];
  readonly logFile: (name: string) => string;
  readonly onBuilt: (service: string) => void;
}

/** The arguments of Vite for one app; the page is built to where the registry serves it from. */
function buildArguments(app: string): readonly string[] {
  const target = app === 'console' ? ['--outDir', '../registry/dist/console', '--emptyOutDir'] : [];
  return ['build', '--watch', ...target];
}

/** Builds the services and the page whenever their sources change, and tells when a service's build is new. */
export async function watchBuilds(plan: WatchPlan): Promise<() => Promise<void>> {
  const vite = path.join(plan.root, 'node_modules/vite/bin/vite.js');
  const bundle = (service: string): string => path.join(plan.root, 'apps', service, 'dist/main.js');
  const builders = await Promise.all(
    [...plan.services, 'console'].map((app) =>
      ManagedProcess.start({
        name: `build-${app}`,
        command: process.execPath,
        args: [vite, ...buildArguments(app)],
        cwd: path.join(plan.root, 'apps', app),
        logFile: plan.logFile(`build-${app}`),
      }),
    ),
  );
  for (const service of plan.services) {
    // The file is away for a moment while it is written anew.
    watchFile(bundle(service), { interval: POLL_MS }, (now, before) => {
      if (now.size > 0 && now.mtimeMs !== before.mtimeMs) plan.onBuilt(service);
    });
  }
  return async () => {
    for (const service of plan.services) unwatchFile(bundle(service));
    await Promise.all(builders.map((builder) => builder.stop(STOP_LIMIT_MS)));
  };
}
