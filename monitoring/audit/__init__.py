"""The audit log: decisions recorded forever, in a hash chain that can be checked."""
