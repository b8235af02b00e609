"""The attacks and the honest look-alikes: what an attacker knows, plans and sends."""
