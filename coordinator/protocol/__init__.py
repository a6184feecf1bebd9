"""The wire, shared by every role: ids, messages, codec, signing, session, errors."""
