"""Messages in two classes, written for this example: too few to be a filter, enough to see one."""

from whence.play.texts.words import Labelled

_SPAM = """\
You have won a free holiday for two! Call now to claim your prize
WINNER! You have been selected for a $1000 gift card, reply YES
Claim your free prize today, text WIN to 80888
Urgent: your account is suspended, click the link to verify your bank details
Congratulations! You won £5000 cash, call 0900 123 123 now
Cheap loans approved in 5 minutes, no questions asked, apply now
Lose 10 kg in 2 weeks with this one trick, order now
Free ringtone! Reply TONE to 85555 to get yours today
Your parcel could not be delivered, pay $2 to release it: click here
Last chance! 90% off all watches, offer ends tonight
Get rich from home, earn $3000 a week, no experience needed
Your mobile number was drawn in our lottery, claim £2000 within 24 hours
Exclusive offer for you: free trial, cancel at any time, click now
Hot singles in your area want to meet you, join free
Final notice: claim your tax refund of $740 by clicking the link
Buy 1 get 2 free, only today, order at our shop now
You are pre-approved for a credit card with a $10000 limit, apply today
Win a new phone! Answer one question and text it to 81010
Double your money in a week, guaranteed, invest now
Act now! Limited offer: free access to our casino with £100 bonus
Your computer is infected, call our support now on 0800 555 555
Claim your voucher worth $500, only 3 left
Free entry in a weekly cup final draw, text CUP to 87121 now
Verify your password at once or your account will be closed, click here
No fee! Cash prizes every day, text PLAY to 82277
Important: unpaid invoice, click to pay now and avoid a fine
Best price for pills online, no prescription, order today
We have chosen you for a free cruise, call now, only 5 places left
Congratulations, your email won the monthly draw, reply with your bank details
Earn cash fast! Free starter kit for the first 100 callers"""

_HAM = """\
Are you coming to dinner tonight?
I will be home by 6, can you buy milk
Thanks for the book, I liked the second chapter most
Can we move the meeting to Thursday at 10?
Happy birthday! Hope you have a lovely day
The train is late again, I will call you when I am there
Did you send the report to Anna yet?
Mum says the cat is fine and eats well
Let us go for a walk on Sunday if it does not rain
I left my keys at your place, can I get them tomorrow
The children have a day off on Friday
Great talk today, could you send me the slides
Sorry, I cannot make it tonight, I am too tired
What was the name of that film we saw last week?
Please read the draft and tell me what you think
We are out of coffee, I will get some on the way
My phone was off, what did you want to say?
The dentist moved your appointment to 3 on Monday
Could you water the plants while we are away
See you at the station, platform 4
The code works now, it was a missing comma
How is your father doing after the operation?
I paid for lunch, you get the next one
We need two more chairs for tomorrow
Is the shop still open at this hour?
I am in the library until 5, come by if you like
He said the car will be ready on Wednesday
Good luck with the exam tomorrow, you know it all
Do you still have my umbrella?
Call me when you are free, nothing urgent"""

MESSAGES = [Labelled("spam", text) for text in _SPAM.splitlines()] + [
    Labelled("ham", text) for text in _HAM.splitlines()
]
