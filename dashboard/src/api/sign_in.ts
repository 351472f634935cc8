import { ApiError, api, part } from "./client";
import { holdSession, keep, session, signOut } from "./session";

interface LoggedIn {
  token: string;
  role: string;
  version: string;
  must_change_password?: boolean;
}

export async function signIn(username: string, password: string): Promise<void> {
  const told = await api<LoggedIn>("POST", "/login", { body: { username, password } });
  keep({ token: told.token, username, role: told.role, version: told.version, mustChangePassword: told.must_change_password ?? false });
}

/** The old tokens end with the old password, so that this signs in anew. */
export async function changePassword(before: string, after: string): Promise<void> {
  const username = session.value?.username;
  if (!username) throw new ApiError(401, "BAD_USERNAME_OR_PWD", "nobody is signed in");
  await holdSession(async () => {
    await api("POST", `/users/${part(username)}/change_pwd`, { body: { old_pwd: before, new_pwd: after } });
    await signIn(username, after);
  });
}

export function leave(): void {
  const username = session.value?.username;
  // The token ends by itself when this does not arrive.
  api("POST", "/logout", { body: { username } }).catch(() => undefined);
  signOut("signed-out");
}
