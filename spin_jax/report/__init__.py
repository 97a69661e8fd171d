"""What a person sees at the end."""
