// The image's entry point: its first argument names the app to run.
const APPS = ['agent', 'ingestion', 'presence', 'automation', 'alerting', 'registry', 'cli'];
const [, , app = '', ...rest] = process.argv;

if (app === 'healthcheck') {
  const port = process.env['MUSTER_HTTP_PORT'] ?? '8080';
  const answer = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(3_000) }).catch(
    (error) => ({ ok: false, statusText: error.message }),
  );
  if (!answer.ok) {
    console.error(`not healthy: ${answer.statusText}`);
    process.exit(1);
  }
  process.exit(0);
}
if (!APPS.includes(app)) {
  console.error(`usage: muster ${APPS.join(' | ')}; found ${JSON.stringify(app)}`);
  process.exit(2);
}
process.argv = [process.argv[0], process.argv[1], ...rest];
await import('./metadata.js');
await import(`./${app}.js`);
