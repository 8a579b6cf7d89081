"""Which direction in the residual stream stands for a concept, and what is it good for?"""
