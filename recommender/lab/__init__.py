"""What tries the product: attacks, benches, a demo, clients. The product never imports it."""
