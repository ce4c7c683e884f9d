import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AdvisorError } from './advisor-error.ts';
import { includedFolders, parseConfiguration, valueOf, type Configuration } from './configuration.ts';

const parse = (text: string): Configuration => parseConfiguration({ file: 'mosquitto.conf', text });
const faults = (text: string): readonly string[] =>
  parse(text).faults.map(({ place, refused, kind }) => `${place.line} ${kind}${refused ? ' refused' : ''}`);
const sockets = (text: string): readonly string[] =>
  parse(text).listeners.map(({ kind, port, address }) => `${kind} ${port} ${address ?? '*'}`);

describe('mosquitto.conf', () => {
  it('is settings, listeners and bridges, each with its line', () => {
    const { settings, listeners, bridges, perListener, localOnly } = parse(
      'persistence true\n\n# for devices\nlistener 8883\ncertfile /c\nallow_anonymous false\nconnection hub\naddress h:8883\n',
    );
    expect({ perListener, localOnly }).toEqual({ perListener: false, localOnly: false });
    expect(settings.map(({ name, value, place }) => [name, value, place.line])).toEqual([
      ['persistence', 'true', 1],
      ['allow_anonymous', 'false', 6],
    ]);
    expect(listeners).toMatchObject([{ port: 8883, comment: 'for devices', place: { line: 4 } }]);
    expect(listeners[0]?.settings).toMatchObject([{ name: 'certfile', value: '/c', place: { line: 5 } }]);
    expect(bridges).toMatchObject([{ name: 'hub', place: { line: 7 }, settings: [{ name: 'address' }] }]);
  });

  it.each([
    ['CRLF', 'listener 1883\r\nallow_anonymous true\r\n'],
    ['no newline at the end', 'listener 1883\nallow_anonymous true'],
    ['more spaces', '  listener   1883  \n   allow_anonymous    true   \n'],
    ['a comment behind', 'listener 1883 # open\nallow_anonymous true # yes\n'],
  ])('is read with %s', (_, text) => {
    expect(faults(text)).toEqual([]);
    expect(sockets(text)).toEqual(['named 1883 *']);
    expect(valueOf(parse(text).settings, 'allow_anonymous')).toBe('true');
  });

  // Each row was tried with Mosquitto 2.0.11.
  it.each([
    ['nosuch 1', ['1 unknown refused'], 'an unknown name'],
    ['\tlistener 1883', ['1 unknown refused'], 'a tab is no separator'],
    [' # comment', ['1 unknown refused'], 'a comment starts in the first column'],
    ['allow_anonymous yes', ['1 value refused'], 'yes is no value'],
    ['allow_anonymous', ['1 value refused'], 'an empty value'],
    ['max_keepalive 99999', ['1 value refused'], 'a number out of range'],
    ['max_packet_size 1', ['1 value refused'], 'below 20 bytes'],
    ['protocol foo', ['1 value refused'], 'an unknown protocol'],
    ['log_type foo', ['1 value refused'], 'an unknown kind of message'],
    ['persistent_client_expiration 1', ['1 value refused'], 'a duration without its unit'],
    ['listener 99999', ['1 value refused'], 'no port'],
    ['listener 0', ['1 value refused'], 'a Unix socket without a path'],
    ['listener', ['1 value refused'], 'no port at all'],
    ['acl_file /a\nacl_file /b', ['2 repeated refused'], 'a file twice'],
    ['persistence true\npersistence false', ['2 overruled'], 'a switch twice'],
    ['listener 1884\nlistener 1884', ['2 repeated refused'], 'a socket twice'],
    ['password_file /p\nper_listener_settings true', ['2 order refused'], 'per_listener_settings below access'],
    ['listener 1884\nper_listener_settings true', ['2 late'], 'per_listener_settings below a listener'],
    ['mount_point x/', ['1 orphan refused'], 'a mount point of no listener'],
    ['max_connections 5\nlistener 8883', ['1 orphan'], 'an option above its listener'],
    ['address h:1883', ['1 bridge refused'], 'an address of no bridge'],
    ['auth_opt_x 1', ['1 bridge refused'], 'an option of no plugin'],
    ['connection a\nconnection a', ['2 repeated refused'], 'a bridge twice'],
    ['include_dir /nowhere', ['1 include refused'], 'a folder that is not there'],
    ['log_dest stderr\nlog_dest syslog\nlog_type error\nlog_type warning', [], 'what may be repeated'],
    ['plugin /a\nplugin_opt_x 1\nplugin /b', [], 'two plugins'],
    ['listener 0 /run/mosquitto.sock', [], 'a Unix socket'],
    ['connection a\naddress h:1\ntopic # out\ntopic b in', [], 'a bridge'],
  ])('%j: %j (%s)', (text, expected) => expect(faults(text)).toEqual(expected));

  // Each row was seen with ss and Mosquitto 2.0.11.
  it.each([
    ['', ['implicit 1883 localhost'], true, 'nothing at all'],
    ['allow_anonymous false', ['implicit 1883 localhost'], true, 'no listener'],
    ['port 1884', ['default 1884 *'], false, 'the old spelling'],
    ['bind_address 127.0.0.1\nport 1884', ['default 1884 127.0.0.1'], false, 'with an address'],
    ['max_connections 5', ['default 1883 *'], true, 'an option of listeners opens 1883 for all'],
    ['tls_version tlsv1.2', ['implicit 1883 localhost'], true, 'and this one does not'],
    ['max_connections 5\nlistener 8883', ['named 8883 *', 'default 1883 *'], false, 'beside a listener too'],
    ['listener 8883\nport 1884', ['named 8883 *', 'default 1884 *'], false, 'port is its own listener'],
    ['allow_zero_length_clientid false\nlistener 8883', ['named 8883 *'], false, 'an option of access does not'],
    [
      'per_listener_settings true\npassword_file /p\nlistener 8883',
      ['named 8883 *', 'default 1883 *'],
      false,
      'but does per listener',
    ],
  ])('%j opens %j (local only: %s; %s)', (text, expected, localOnly) => {
    expect(sockets(text)).toEqual(expected);
    expect(parse(text).localOnly).toBe(localOnly);
  });

  it('reads included files in place, and forgets the listener between them', () => {
    const main = { file: 'main.conf', text: 'listener 8883\ninclude_dir conf.d\nmax_connections 7\n' };
    expect(includedFolders(main)).toEqual(['conf.d']);
    const included = new Map([
      ['conf.d', [{ file: 'conf.d/a.conf', text: 'persistence true\nmax_connections 4\ninclude_dir deeper\n' }]],
    ]);
    const configuration = parseConfiguration(main, included);
    expect(configuration.settings).toMatchObject([{ name: 'persistence', place: { file: 'conf.d/a.conf', line: 1 } }]);
    expect(configuration.listeners).toMatchObject([
      { kind: 'named', port: 8883, settings: [{ value: '7' }] },
      { kind: 'default', port: 1883, place: { file: 'conf.d/a.conf', line: 2 } },
    ]);
    expect(configuration.faults.map(({ kind }) => kind)).toEqual(['orphan', 'include']);
  });

  it('keeps access of each listener apart with per_listener_settings', () => {
    const { settings, listeners } = parse(
      'per_listener_settings true\nlistener 1884\nallow_anonymous true\nlistener 8883\npassword_file /p\n',
    );
    expect(settings.map(({ name }) => name)).toEqual(['per_listener_settings']);
    expect(listeners.map((listener) => listener.settings.map(({ name }) => name))).toEqual([
      ['allow_anonymous'],
      ['password_file'],
    ]);
  });

  it.each([
    ['listener 1883\na\0b', 'not-text', 2],
    ['\u007fELF\u0002\u0001', 'not-text', 1],
    ['#'.repeat(1_000_001), 'too-large', undefined],
  ])('that is none is refused with its line', (text, code, line) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ name: 'AdvisorError', code, line }));
  });

  it('throws nothing but the error of this library, whatever the text, and never quotes a line that is no option', () => {
    const word = fc.constantFrom(
      ...['listener', 'port', 'per_listener_settings', 'true', '1883', '#', '\n', '\r\n', ' ', '\t', 'certfile', '/x'],
      ...['connection', 'address', 'topic', 'plugin', 'auth_opt_a', 'include_dir', 'allow_anonymous', '\0', '0'],
    );
    const text = fc.oneof(
      fc.array(word, { maxLength: 60 }).map((words) => words.join('')),
      fc.string({ unit: 'binary', maxLength: 200 }),
    );
    fc.assert(
      fc.property(text, (given) => {
        try {
          const { listeners } = parse(given);
          expect(listeners.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(AdvisorError);
          expect((error as AdvisorError).line).toBeGreaterThan(0);
        }
      }),
      { numRuns: 300 },
    );
    expect(JSON.stringify(parse('alice:$7$101$c2FsdA==$aGFzaA==\nhunter2-SECRET x\n').faults)).not.toMatch(
      /aGFz|SECRET|alice/,
    );
  });
});
