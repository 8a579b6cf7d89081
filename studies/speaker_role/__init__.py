"""Does a language model keep two speakers apart, and at which tokens and depths?"""
