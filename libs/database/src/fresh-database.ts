import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { migrate } from './migrations.ts';

/** For tests: makes a database without tables beside that of a URL, and gives its URL. */
export async function emptyDatabase(postgresUrl: string): Promise<string> {
  const url = new URL(postgresUrl);
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  const admin = new Client({ connectionString: url.href });
  await admin.connect();
  try {
    await admin.query(`CREATE DATABASE ${name}`);
  } finally {
    await admin.end();
  }
  url.pathname = `/${name}`;
  return url.href;
}

/** For tests: makes a database with the schema of this build beside that of a URL, and gives its URL. */
export async function freshDatabase(postgresUrl: string): Promise<string> {
  const url = await emptyDatabase(postgresUrl);
  await migrate(url);
  return url;
}
