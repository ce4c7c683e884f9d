/**
 * What a service publishes, retained, as its own status: birth, will (`unexpected`) and `shutdown`. A birth tells when it
 * was: after a restart of the broker an old one may still be retained.
 */
export function ownStatus(status: 'online' | 'offline', reason?: 'shutdown' | 'unexpected'): string {
  return JSON.stringify({ status, ...(reason === undefined ? { timestamp: Date.now() } : { reason }) });
}
