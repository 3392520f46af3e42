//! What the operator and the user allow: answers questions, decides nothing.
