"""What tests share: invented sites and logs, servers, and what a person does."""
