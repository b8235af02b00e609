"""Messages to people: written with what they tell, delivered later."""
