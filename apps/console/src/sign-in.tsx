import { useState, type JSX } from 'react';
import { FleetTable } from './fleet-table.tsx';
import { useSession } from './session.ts';

/** The page: the fleet for whoever is signed in, else the form to sign in with a token. */
export function SignedInPage(): JSX.Element {
  const { session, fault, signIn, signOut } = useSession();
  if (session === undefined) return <main className="empty">Loading…</main>;
  if (session === null) return <SignInForm fault={fault} onToken={signIn} />;
  return <FleetTable session={session} onSignOut={signOut} />;
}

function SignInForm({
  fault,
  onToken,
}: {
  readonly fault: string | undefined;
  readonly onToken: (token: string) => Promise<void>;
}): JSX.Element {
  const [token, setToken] = useState('');
  return (
    <main className="sign-in">
      <h1>Muster</h1>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void onToken(token);
        }}
      >
        <label>
          Token
          <input
            type="password"
            autoComplete="current-password"
            required
            value={token}
            onChange={(event) => setToken(event.target.value)}
          />
        </label>
        <button type="submit">Sign in</button>
      </form>
      {fault !== undefined && <p role="alert">Not signed in: {fault}.</p>}
      <p>
        <code>npm start</code> prints a token, <code>muster token create</code> makes one; on Kubernetes the notes of
        the release tell where the first one is.
      </p>
    </main>
  );
}
