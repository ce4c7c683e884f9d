import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { findProgram } from '@muster/engines';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, missingProgram, publish, StartedSystem, stateFolder } from './system.ts';

const CHROMIUM = findProgram('chromium') ?? findProgram('google-chrome') ?? '';
const SCREENSHOTS = path.join(import.meta.dirname, '../node_modules/.cache/screenshots');
const reason = missingProgram('chromium');

describe.skipIf(reason !== undefined)(`the console${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  let system: StartedSystem;
  let browser: Browser;
  let page: Page;
  const faults: string[] = [];

  beforeAll(async () => {
    system = await StartedSystem.start(['--devices', '0', '--dir', stateFolder()]);
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
    page = await browser.newPage({ viewport: { width: 1200, height: 700 } });
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
    mkdirSync(SCREENSHOTS, { recursive: true });
  });
  afterAll(async () => {
    await browser.close();
    await system.stop();
  });

  it('lets nobody see anything without a token, and says why one is not taken', async () => {
    await page.goto(system.address.console.url);
    await page.getByLabel('Token').fill('muster_wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('Not signed in: this token is unknown, revoked or expired.').waitFor();
    // Chromium itself tells of every 401 that it gets.
    expect(faults.splice(0).every((fault) => fault.includes('401'))).toBe(true);
  });

  it('signs in with the token of the link that npm start prints, and keeps it from scripts and the address', async () => {
    await page.goto('about:blank');
    await page.goto(`${system.address.console.url}/#token=${system.address.api.token}`);
    await page.getByRole('button', { name: 'Sign out' }).waitFor();
    expect(page.url()).toBe(`${system.address.console.url}/`);
    expect(await page.evaluate('document.cookie')).toBe('');
    const [cookie] = await page.context().cookies(`${system.address.console.url}/api`);
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' });
  });

  it('says what to do while there are no devices, still signed in after a reload', async () => {
    await page.reload();
    await page.getByText('They appear by themselves when they are first heard').waitFor();
  });

  it('shows a device with state, reason and last values as soon as it is heard, without a reload', async () => {
    await publish(system.address, '-t', 'devices/porch/status', '-m', 'online', '-r', '-q', '1');
    await publish(system.address, '-t', 'devices/porch/telemetry', '-m', '{"temp":21.5,"hum":40}', '-q', '1');
    const row = page.locator('tr[data-device="porch"]');
    await row.getByText('online', { exact: true }).waitFor();
    await row.getByText('21.5 °C').waitFor();
    await publish(
      system.address,
      '-t',
      'devices/porch/status',
      '-m',
      '{"status":"offline","reason":"sleep","wake_in":60}',
      '-r',
      '-q',
      '1',
    );
    await row.getByText('asleep', { exact: true }).waitFor();
    expect(await row.textContent()).toContain('goes to sleep');
  });

  it('takes hostile names for text', async () => {
    const name = '<img src=x onerror=alert(1)>';
    const body = JSON.stringify({ name });
    await curl(system.address, '/api/v1/devices/porch', '-X', 'PATCH', '--json', body);
    await page.getByText(name).waitFor();
    await page.screenshot({ path: path.join(SCREENSHOTS, 'console.png') });
  });

  it('finds a device by a part of its name and says when none matches', async () => {
    await page.getByLabel('Device').fill('nothing like it');
    await page.getByText('No device matches.').waitFor();
    await page.getByLabel('Device').fill('POR');
    await page.locator('tr[data-device="porch"]').waitFor();
  });

  it('signs out', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Token').waitFor();
    await page.reload();
    await page.getByLabel('Token').waitFor();
    expect(faults.splice(0).every((fault) => fault.includes('401'))).toBe(true);
  });

  it('shows no error of its own', () => {
    expect(faults).toEqual([]);
  });
});
