import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { findProgram } from '@muster/engines';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { missingProgram, publish, StartedSystem, stateFolder } from './system.ts';

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

  it('says what to do while there are no devices', async () => {
    await page.goto(system.address.console.url);
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
    await fetch(`${system.address.api.url}/api/v1/devices/porch`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name }),
    });
    await page.getByText(name).waitFor();
    await page.screenshot({ path: path.join(SCREENSHOTS, 'console.png') });
  });

  it('finds a device by a part of its name and says when none matches', async () => {
    await page.getByLabel('Device').fill('nothing like it');
    await page.getByText('No device matches.').waitFor();
    await page.getByLabel('Device').fill('POR');
    await page.locator('tr[data-device="porch"]').waitFor();
  });

  it('shows no error of its own', () => {
    expect(faults).toEqual([]);
  });
});
