import canonicalize from 'canonicalize';

/**
 * The one text that stands for a value of JSON (RFC 8785), for hashes and signatures: no white space, names sorted by
 * their UTF-16 code units. Members that are undefined are left out.
 * @throws Error for what JSON cannot have: NaN, infinities, lone surrogates, circles
 */
export function canonicalJson(value: object): string {
  return canonicalize(value) ?? '';
}
