// An OpenID provider whose clock stands still, whose people log in by their name alone, and some of whose clients get
// identity tokens that no provider should give.
//
//     node oidc_provider.js PORT NOW REDIRECT_URI
//
// NOW is a time such as 2026-01-31T12:00:00Z. Whoever stands in `login_hint` is logged in: `anna@eng,ops` is anna, in the
// groups eng and ops. Clients: `web` has a secret, `public` has none, `hs256` gets tokens signed with its secret, and those
// of `faults` have a secret and get tokens that were changed on their way, `faultless` without a difference. Those of
// `elsewhere` get identity tokens without groups, which stand at the userinfo endpoint alone; its answers are changed too.

const { createPrivateKey, createSign, generateKeyPairSync } = require("node:crypto");

const [port, now, redirectUri] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const standing = Date.parse(now);
Date.now = () => standing;

// After the clock: it is read when it is loaded.
const { Provider } = require("oidc-provider");

const jwk = (kid) => ({
  ...generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" }),
  kid,
  alg: "RS256",
  use: "sig",
});
const published = jwk("published");
const unpublished = jwk("published");

function token(head, claims, key) {
  const text = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${text(head)}.${text(claims)}`;
  if (!key) return `${signed}.`;
  const signature = createSign("sha256").update(signed).sign(createPrivateKey({ key, format: "jwk" }));
  return `${signed}.${signature.toString("base64url")}`;
}

const signed = { alg: "RS256", kid: "published" };
const seconds = Math.floor(standing / 1000);
const changed = (change) => (claims) => token(signed, { ...claims, ...change }, published);
const faults = {
  faultless: changed({}),
  unsigned: (claims) => token({ alg: "none", kid: "published" }, claims),
  "unsigned-by-rs256": (claims) => token(signed, claims),
  "other-key": (claims) => token(signed, claims, unpublished),
  "access-token": (claims) => token({ ...signed, typ: "at+jwt" }, claims, published),
  "other-issuer": changed({ iss: "https://other.example" }),
  "other-audience": changed({ aud: "web" }),
  "more-audiences": (claims) => token(signed, { ...claims, aud: [claims.aud, "web"] }, published),
  "other-party": changed({ azp: "web" }),
  ended: changed({ exp: seconds - 60 }),
  "not-begun": changed({ nbf: seconds + 61 }),
  "no-subject": changed({ sub: undefined }),
};

const elsewhere = {
  "groups-elsewhere": (ctx) => ctx.body,
  "groups-nowhere": (ctx) => ({ ...ctx.body, groups: undefined }),
  "elsewhere-another": (ctx) => ({ ...ctx.body, sub: "olga" }),
  "elsewhere-nobody": (ctx) => ({ ...ctx.body, sub: undefined }),
  "elsewhere-large": (ctx) => ({ ...ctx.body, more: "x".repeat(256 * 1024) }),
  "elsewhere-no-json": () => "who?",
  "elsewhere-failing": (ctx) => {
    ctx.status = 500;
    return ctx.body;
  },
};
for (const id of Object.keys(elsewhere)) faults[id] = changed({ groups: undefined });

const secret = "a secret of the tests, which is no secret";
const client = (id, more) => ({
  client_id: id,
  client_secret: secret,
  redirect_uris: [redirectUri],
  grant_types: ["authorization_code"],
  response_types: ["code"],
  ...more,
});

const groupsOf = new Map();
const provider = new Provider(issuer, {
  clients: [
    client("web"),
    client("public", { client_secret: undefined, token_endpoint_auth_method: "none" }),
    client("hs256", { id_token_signed_response_alg: "HS256" }),
    ...Object.keys(faults).map((id) => client(id)),
  ],
  jwks: { keys: [published] },
  cookies: { keys: ["a key of the tests"] },
  claims: { openid: ["sub", "groups"] },
  conformIdTokenClaims: false,
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "HS256"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groupsOf.get(id) }) }),
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid");
    await grant.save();
    return grant;
  },
});

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith("/interaction/")) return next();
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const [accountId, groups] = (params.login_hint ?? "").split("@");
  groupsOf.set(accountId, groups ? groups.split(",") : []);
  const result = accountId
    ? { login: { accountId } }
    : { error: "access_denied", error_description: "the person went away" };
  ctx.respond = false;
  ctx.res.statusCode = 303;
  await provider.interactionFinished(ctx.req, ctx.res, result);
});

provider.use(async (ctx, next) => {
  await next();
  const fault = faults[ctx.oidc?.client?.clientId];
  if (fault && ctx.body?.id_token) {
    const claims = JSON.parse(Buffer.from(ctx.body.id_token.split(".")[1], "base64url"));
    ctx.body = { ...ctx.body, id_token: fault(claims) };
  }
  const said = elsewhere[ctx.oidc?.client?.clientId];
  if (said && ctx.path === "/me") ctx.body = said(ctx);
});

provider.listen(Number(port), "127.0.0.1");
