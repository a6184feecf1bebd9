/* Where to report a flaw, found by its markers. Source: the format of solana-security-txt. */

static const char SECURITY_TXT[] __attribute__((used)) =
    "=======BEGIN SECURITY.TXT V1=======\0"
    "name\0"
    "HYPERNODE settlement\0"
    "project_url\0"
    "https://docs.hypernodesolana.org\0"
    "contacts\0"
    "link:https://github.com/hypernode-sol,discord:https://discord.gg/hypernode\0"
    "policy\0"
    "Tell us privately before you publish. No bounty is promised.\0"
    "preferred_languages\0"
    "en\0"
    "=======END SECURITY.TXT V1=======";
