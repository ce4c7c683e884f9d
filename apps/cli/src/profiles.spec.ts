import { chmodSync, mkdirSync, mkdtempSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ProfileError, profilesFile, readProfiles, writeProfiles, type Profiles } from './profiles.ts';

const SECRET = 'muster_secret';

function place(): string {
  return path.join(mkdtempSync(path.join(tmpdir(), 'muster-profiles-')), 'muster', 'config.yaml');
}

function fileOf(text: string, mode = 0o600): string {
  const file = place();
  mkdirSync(path.dirname(file));
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

const profiles: Profiles = {
  current: 'lab',
  profiles: { lab: { url: 'https://lab.example', token: SECRET }, other: { url: 'http://127.0.0.1:8300' } },
};

describe('the file of profiles', () => {
  it('is written for its owner alone, and read as it was written', () => {
    const file = place();
    expect(readProfiles(file)).toEqual({ profiles: {} });
    writeProfiles(file, profiles);
    expect(readProfiles(file)).toEqual(profiles);
    expect([statSync(file).mode & 0o777, statSync(path.dirname(file)).mode & 0o777]).toEqual([0o600, 0o700]);
  });

  it('replaces one whole by the other, also where it was readable by others', () => {
    const file = fileOf('profiles: {}\n', 0o644);
    writeProfiles(file, profiles);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    writeProfiles(file, { profiles: {} });
    expect(readFileSync(file, 'utf8')).not.toContain(SECRET);
  });

  it('may be empty', () => {
    expect(readProfiles(fileOf(''))).toEqual({ profiles: {} });
  });

  it.each([
    [
      'that others may read',
      `profiles: {lab: {url: 'http://a', token: ${SECRET}}}`,
      0o640,
      /read by others: chmod 600/,
    ],
    ['that is no YAML', `profiles: {lab: {token: [${SECRET}`, 0o600, /is no YAML.*mend it/],
    ['with a URL that is none', `profiles: {lab: {url: ${SECRET}}}`, 0o600, /profiles\.lab\.url: expected http/],
    [
      'with a token that is no text',
      `profiles: {lab: {url: 'http://a', token: [${SECRET}]}}`,
      0o600,
      /profiles\.lab\.token/,
    ],
    ['with what it does not know', `profiles: {lab: {url: 'http://a', password: ${SECRET}}}`, 0o600, /profiles\.lab/],
    ['that is something else', `- ${SECRET}`, 0o600, /the file: /],
    ['with a bad name', `profiles: {"a b": {url: 'http://a'}}`, 0o600, /profiles\.a b/],
  ])('is refused %s, and nothing of it is shown', (_, text, mode, message) => {
    const file = fileOf(text, mode);
    let error: unknown;
    try {
      readProfiles(file);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ProfileError);
    expect((error as ProfileError).message).toMatch(message);
    expect((error as ProfileError).message).toContain(file);
    expect((error as ProfileError).message).not.toContain(SECRET);
  });

  it('that cannot be written or read says so', () => {
    const file = place();
    symlinkSync('/nonexistent', path.dirname(file));
    expect(() => writeProfiles(file, profiles)).toThrow(/cannot be written/);
    const folder = place();
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    expect(() => readProfiles(folder)).toThrow(/cannot be read/);
  });

  it('is where the XDG specification has it', () => {
    expect(profilesFile({ XDG_CONFIG_HOME: '/etc/xdg' })).toBe('/etc/xdg/muster/config.yaml');
    expect(profilesFile({ XDG_CONFIG_HOME: 'relative' })).toMatch(/\/\.config\/muster\/config\.yaml$/);
    expect(profilesFile({})).toMatch(/\/\.config\/muster\/config\.yaml$/);
  });
});
