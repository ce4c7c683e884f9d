import { useEffect, useState } from 'react';
import { signedInSchema, type SignedIn } from '@muster/contract';

/** Whether somebody is signed in; undefined until the API has said so. */
export interface SessionState {
  readonly session: SignedIn | null | undefined;
  /** Why the last token was not taken. */
  readonly fault: string | undefined;
  readonly signIn: (token: string) => Promise<void>;
  readonly signOut: () => Promise<void>;
}

const SESSION = '/api/v1/session';

/** The token behind `#token=` of the address: it stays in the browser, a fragment is sent to no server. */
export function tokenInFragment(fragment: string): string | undefined {
  return new URLSearchParams(fragment.replace(/^#/, '')).get('token') ?? undefined;
}

async function ask(init?: RequestInit): Promise<SignedIn | null> {
  const answer = await fetch(SESSION, init);
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error(`the API answered ${answer.status}`);
  return signedInSchema.parse(await answer.json());
}

/** Signs in with the token of the address, where there is one, and keeps to what the browser's cookie says otherwise. */
export function useSession(): SessionState {
  const [session, setSession] = useState<SignedIn | null | undefined>(undefined);
  const [fault, setFault] = useState<string | undefined>(undefined);

  const attempt = async (work: () => Promise<SignedIn | null>, refused?: string): Promise<void> => {
    try {
      const answered = await work();
      setSession(answered);
      setFault(answered === null ? refused : undefined);
    } catch (error) {
      setSession(null);
      setFault(error instanceof Error ? error.message : String(error));
    }
  };
  const signIn = (token: string): Promise<void> =>
    attempt(
      () =>
        ask({
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ token: token.trim() }),
        }),
      'this token is unknown, revoked or expired',
    );

  useEffect(() => {
    const token = tokenInFragment(window.location.hash);
    if (token === undefined) {
      void attempt(() => ask());
      return;
    }
    // Out of the address before anybody copies it.
    window.history.replaceState(null, '', window.location.pathname + window.location.search);
    void signIn(token);
  }, []);

  return {
    session,
    fault,
    signIn,
    signOut: async () => {
      await fetch(SESSION, { method: 'DELETE' });
      setSession(null);
    },
  };
}
