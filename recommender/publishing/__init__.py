"""From the state to what web processes read: boards, links and the catalogue, in Valkey."""
