import { describe, expect, it } from 'vitest';
import { resolveTarget, type ResolvedTarget, type TargetSources } from './api-target.ts';
import { ProfileError, type Profiles } from './profiles.ts';
import { UsageError } from './up/settings.ts';

const profiles: Profiles = {
  profiles: {
    lab: { url: 'https://lab.example', token: 'of-lab', ca: '/ca.crt' },
    open: { url: 'http://open.example:8300' },
  },
};

function resolve(sources: Partial<TargetSources>): ResolvedTarget {
  return resolveTarget({
    options: {},
    environment: {},
    profiles: () => profiles,
    ownToken: () => 'own',
    ...sources,
  });
}

const inUse = (): Profiles => ({ ...profiles, current: 'lab' });
const lab = { url: 'https://lab.example', token: 'of-lab', caFile: '/ca.crt' };

describe('the API that a command asks', () => {
  it.each<[string, Partial<TargetSources>, Partial<ResolvedTarget>]>([
    ['the system of this folder, where nothing is said', {}, { url: 'http://127.0.0.1:8300', token: 'own' }],
    ['the profile in use, before the system of this folder', { profiles: inUse }, lab],
    ['the profile that the environment names', { environment: { MUSTER_PROFILE: 'lab' } }, lab],
    [
      'the URL of the environment, before a profile',
      { environment: { MUSTER_URL: 'http://env.example', MUSTER_PROFILE: 'lab' }, profiles: inUse },
      { url: 'http://env.example', token: undefined, caFile: undefined },
    ],
    [
      'the profile of the command line, before the URL and the token of the environment',
      { options: { profile: 'lab' }, environment: { MUSTER_URL: 'http://env.example', MUSTER_TOKEN: 'of-env' } },
      lab,
    ],
    [
      'the token of the environment with a profile that has none',
      { options: { profile: 'open' }, environment: { MUSTER_TOKEN: 'of-env' } },
      { url: 'http://open.example:8300', token: 'of-env' },
    ],
    [
      'the token of the environment, before that of the profile in use',
      { environment: { MUSTER_TOKEN: 'of-env' }, profiles: inUse },
      { url: 'https://lab.example', token: 'of-env' },
    ],
    [
      'the URL of the command line, to which no token of a profile is sent',
      { options: { url: 'https://other.example/' }, profiles: inUse },
      { url: 'https://other.example', token: undefined, caFile: undefined },
    ],
    [
      'the own token, to this machine alone',
      { options: { url: 'http://localhost:1234' } },
      { url: 'http://localhost:1234', token: 'own' },
    ],
    [
      'variables that are empty as if they were not there',
      { environment: { MUSTER_URL: '', MUSTER_TOKEN: '' } },
      { token: 'own' },
    ],
  ])('is %s', (_, sources, expected) => {
    expect(resolve(sources)).toMatchObject(expected);
  });

  it.each<[string, Partial<TargetSources>, RegExp]>([
    ['both a URL and a profile', { options: { url: 'http://a', profile: 'lab' } }, /both name a Muster/],
    ['a URL that is none', { options: { url: 'localhost:8300' } }, /--url expects http.*found "localhost:8300"/],
    ['a URL with a password', { options: { url: 'http://a:b@host' } }, /--url expects/],
    ['a bad variable', { environment: { MUSTER_URL: 'ftp://x' } }, /MUSTER_URL expects/],
    [
      'a profile that is not there',
      { options: { profile: 'nope' } },
      /"nope", which is no profile; there are lab, open/,
    ],
    ['a name of every object', { options: { profile: 'constructor' } }, /which is no profile/],
    [
      'a profile in use that is gone',
      { profiles: () => ({ profiles: {}, current: 'x' }) },
      /in use names "x".*none yet/,
    ],
  ])('is refused as a fault of usage: %s', (_, sources, message) => {
    expect(() => resolve(sources)).toThrow(UsageError);
    expect(() => resolve(sources)).toThrow(message);
  });

  it('does not depend on a broken file where it is named', () => {
    const broken = (): never => {
      throw new ProfileError('broken');
    };
    expect(resolve({ options: { url: 'http://127.0.0.1:1' }, profiles: broken }).url).toBe('http://127.0.0.1:1');
    expect(resolve({ environment: { MUSTER_URL: 'http://127.0.0.1:1' }, profiles: broken }).url).toBe(
      'http://127.0.0.1:1',
    );
    expect(() => resolve({ profiles: broken })).toThrow(ProfileError);
  });
});
